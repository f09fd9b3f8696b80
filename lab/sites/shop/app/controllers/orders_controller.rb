class OrdersController < ApplicationController
  skip_forgery_protection

  def create
    order = Order.place(number: params.require(:number), product: Product.find(params[:product_id]),
                        quantity: params.fetch(:quantity, 1).to_i, from: request.remote_ip)
    render json: { number: order.number, id: order.id }, status: :created
  end

  def recent
    @orders = Order.includes(:tags, line_items: :product).order(id: :desc).limit(20)
  end
end
