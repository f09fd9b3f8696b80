class PagesController < ApplicationController
  def home
    @products = Product.includes(:stock).order(id: :desc).limit(10)
  end

  # Not in the view: that is read from disk when a worker is first asked for it, whichever commit runs.
  def about
    @title = "About the shop"
  end

  def cached
    @filled_by = Rails.cache.fetch("filled_by") { HOST }
  end

  def up
    render plain: "ok"
  end
end
