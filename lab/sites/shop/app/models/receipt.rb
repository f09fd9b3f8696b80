# The customer's mail, handed to the mail server of this host. Each tenth order has one; where no mail is set up, none.
module Receipt
  DOMAIN = File.exist?("/etc/shop-mail") ? File.read("/etc/shop-mail").strip : nil

  def self.for(number)
    id = Order.where(number: number).pick(:id) if DOMAIN
    return unless id && id % 10 == 0

    IO.popen(%w[/usr/sbin/sendmail -i -t -f orders@shop.test], "w") { |mail| mail.write(<<~MAIL) }
      From: The shop <orders@shop.test>
      To: #{number}@#{DOMAIN}
      Subject: Your order #{number}
      X-Order: #{number}

      It is on its way to you.
    MAIL
    raise "the mail server took no mail" unless $?.success?
  end
end
