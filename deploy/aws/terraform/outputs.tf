locals {
  tunnel = "aws ssm start-session --region ${var.region} --target ${aws_instance.service.id}"
  url = (
    local.balanced == 1 ? "https://${var.hostname}" :
    length(var.allowed_cidrs) > 0 ? "http://${aws_eip.service[0].public_ip}:${local.port}" :
    "http://127.0.0.1:${local.port}"
  )
}

output "url" {
  description = "Where the service answers; 127.0.0.1 while a tunnel is open, where no caller from outside is let in."
  value       = local.url
}

output "check" {
  description = "Asks the service some questions."
  value       = "make smoke URL=${local.url} KEY_FILE=<file with a key>"
}

output "tunnel" {
  description = "Brings the service to port 3000 of your machine."
  value       = "${local.tunnel} --document-name AWS-StartPortForwardingSession --parameters portNumber=${local.port},localPortNumber=${local.port}"
}

output "shell" {
  description = "Opens a shell on the machine; `journalctl -u sentigate -u sentigate-sync` says how it is."
  value       = local.tunnel
}

output "point_dns" {
  description = "The record that your DNS needs."
  value       = local.balanced == 1 ? "${var.hostname} CNAME ${aws_lb.service[0].dns_name}" : "none: there is no load balancer"
}

output "database" {
  description = "The database, which only the service reaches."
  value       = aws_db_instance.log.address
}

output "image" {
  description = "What runs, or does within a minute; write it down for a way back."
  value       = var.image
}
