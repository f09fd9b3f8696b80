class Order < ApplicationRecord
  has_many :line_items
  has_and_belongs_to_many :tags, join_table: :orders_tags

  # One transaction: the order, its line, a tag, the stock, an audit row and the job that ships it.
  def self.place(number:, product:, quantity:, from:)
    transaction do
      order = create!(number: number, total: product.price * quantity)
      order.line_items.create!(product: product, quantity: quantity, price: product.price)
      order.tags << Tag.find(1 + order.id % 3)
      Stock.where(product_id: product.id).update_all(["quantity = quantity - ?", quantity])
      Audit.create!(event: "ordered", subject: number, client: from)
      Delayed::Job.enqueue(ShipOrder.new(number))
      order
    end
  end
end
