require "logger" # Rails 6 forgets it where concurrent-ruby is newer
require "rails"
require "active_record/railtie"
require "action_controller/railtie"
require "action_view/railtie"
require "delayed_job_active_record"

module Shop
  # One source for Rails 6.0, 6.1 and 7.2: the defaults of 6.0 keep cookies and forms readable by each other.
  class Application < Rails::Application
    config.load_defaults 6.0
    config.secret_key_base = YAML.load_file("#{root}/config/secrets.yml").fetch(Rails.env).fetch("secret_key_base")

    config.action_dispatch.cookies_serializer = :json
    # Only the nginx before it is a proxy: in the lab visitors have private addresses.
    config.action_dispatch.trusted_proxies = %w[127.0.0.1 ::1].map(&IPAddr.method(:new))
    config.session_store :cookie_store, key: "_shop_session"

    config.cache_classes = true
    config.eager_load = true
    config.consider_all_requests_local = false
    config.action_controller.perform_caching = true
    config.cache_store = :file_store, "#{root}/tmp/cache"

    config.log_level = :warn
    config.active_record.schema_format = :sql
    config.active_record.dump_schema_after_migration = false
  end
end
