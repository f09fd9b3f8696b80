class Tag < ApplicationRecord; end
