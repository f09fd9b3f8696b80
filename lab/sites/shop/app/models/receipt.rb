# The customer's mail, handed to the mail server of this host. Each tenth order has one; where no mail is set up, none.
class Receipt
  DOMAIN = File.exist?("/etc/shop-mail") ? File.read("/etc/shop-mail").strip : nil

  def self.for(number)
    id = Order.where(number: number).pick(:id) if DOMAIN
    new(number).deliver if id && id % 10 == 0
  end

  def initialize(number)
    @number = number
  end

  def deliver
    IO.popen(%w[/usr/sbin/sendmail -i -t -f orders@shop.test], "w") { |mail| mail.write(to_s) }
    raise "the mail server took no mail" unless $?.success?
  end

  def to_s
    <<~MAIL
      From: The shop <orders@shop.test>
      To: #{@number}@#{DOMAIN}
      Subject: Your order #{@number}
      X-Order: #{@number}

      It is on its way to you.
    MAIL
  end
end
