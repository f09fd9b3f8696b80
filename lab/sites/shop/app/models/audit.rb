class Audit < ApplicationRecord; end
