class ApplicationController < ActionController::Base
  HOST = Socket.gethostname

  before_action do
    response.headers["X-Served-By"] = HOST
    response.headers["X-Client-Address"] = request.remote_ip.to_s
  end

  rescue_from(ActiveRecord::RecordNotUnique) { render json: { error: "exists already" }, status: :conflict }
end
