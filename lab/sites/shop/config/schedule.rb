# The crontab, written by `whenever --update-crontab`.
set :output, "log/cron.log"
job_type :script, "cd :path && :environment_variable=:environment ruby script/:task :output"

every 1.minute do
  script "record_minute"
end
