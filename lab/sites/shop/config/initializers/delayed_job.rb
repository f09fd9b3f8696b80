Delayed::Worker.logger = Logger.new(Rails.root.join("log/delayed_job.log"))
Delayed::Worker.sleep_delay = 1
Delayed::Worker.raise_signal_exceptions = false # on SIGTERM finish the present job, then exit
