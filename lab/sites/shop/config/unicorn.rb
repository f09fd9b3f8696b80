app = File.expand_path("..", __dir__)

working_directory app
pid "#{app}/tmp/pids/unicorn.pid"
stderr_path "#{app}/log/unicorn.log"
stdout_path "#{app}/log/unicorn.log"

# As many requests can wait as the backlog holds, while the database is switched for instance.
listen "#{app}/tmp/sockets/unicorn.sock", backlog: 1024
worker_processes 3
timeout 60
preload_app true

# After USR2 two masters share the socket. The old one ends its requests and goes when the last new worker starts.
before_fork do |server, worker|
  ActiveRecord::Base.connection_handler.clear_all_connections!
  old_pid = "#{server.pid}.oldbin"
  if worker.nr == server.worker_processes - 1 && File.exist?(old_pid) && server.pid != old_pid
    begin
      Process.kill(:QUIT, File.read(old_pid).to_i)
    rescue Errno::ENOENT, Errno::ESRCH
      # it has gone already
    end
  end
end

after_fork do |_server, _worker|
  ActiveRecord::Base.establish_connection
end
