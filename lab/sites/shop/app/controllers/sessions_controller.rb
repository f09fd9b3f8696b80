class SessionsController < ApplicationController
  def new; end

  def create
    reset_session
    session[:name] = params.require(:name)
    redirect_to "/me"
  end

  def show
    return head(:unauthorized) unless session[:name]

    render json: { name: session[:name] }
  end
end
