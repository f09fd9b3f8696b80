class UploadsController < ApplicationController
  skip_forgery_protection

  def create
    upload = Upload.keep(name: params.require(:name), file: params.require(:file))
    render json: { name: upload.name, sha256: upload.sha256 }, status: :created
  end
end
