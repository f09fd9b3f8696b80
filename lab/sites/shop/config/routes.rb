Rails.application.routes.draw do
  root "pages#home"
  get "about", "cached", "up", controller: :pages

  resources :products, only: :show
  resources :orders, only: :create do
    get :recent, on: :collection
  end
  resources :uploads, :slow_jobs, only: :create

  get "login", to: "sessions#new"
  post "login", to: "sessions#create"
  get "me", to: "sessions#show"
end
