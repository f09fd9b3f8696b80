class PagesController < ApplicationController
  def home
    @products = Product.includes(:stock).order(id: :desc).limit(10)
  end

  def about; end

  def cached
    @filled_by = Rails.cache.fetch("filled_by") { HOST }
  end

  def up
    render plain: "ok"
  end
end
