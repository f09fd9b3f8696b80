class Stock < ApplicationRecord
  self.table_name = "stock"
end
