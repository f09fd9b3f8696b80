class OpenShop < ActiveRecord::Migration[6.0]
  def up
    suppress_messages { execute File.read(File.expand_path("../open_shop.sql", __dir__)) }
  end
end
