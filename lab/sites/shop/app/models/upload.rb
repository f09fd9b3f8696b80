class Upload < ApplicationRecord
  FOLDER = Rails.root.join("public/system/uploads")

  validates :name, format: /\A\w[\w.-]*\z/

  # The row is written first, and only stays when the file is in place: whole, under its name.
  def self.keep(name:, file:)
    transaction do
      upload = create!(name: name, sha256: Digest::SHA256.file(file.path).hexdigest)
      FOLDER.mkpath
      partial = FOLDER.join(".#{name}.part")
      FileUtils.cp(file.path, partial)
      partial.chmod(0o644) # the temporary file was for its owner alone
      partial.rename(FOLDER.join(name))
      upload
    end
  end
end
