class SlowJobsController < ApplicationController
  skip_forgery_protection

  def create
    number = "slow-#{SecureRandom.hex(4)}"
    Delayed::Job.enqueue(ShipOrder.new(number, params[:seconds].to_f))
    render json: { number: number }, status: :created
  end
end
