class Product < ApplicationRecord
  has_one :stock

  # As of the last refresh of the materialised view.
  def sold
    self.class.connection.select_value("SELECT sold FROM product_sales WHERE product_id = #{id}") || 0
  end
end
