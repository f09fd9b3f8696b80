class JobRun < ApplicationRecord; end
