# Made only where a certificate is given.

locals {
  balanced = var.certificate_arn == null ? 0 : 1
}

resource "aws_security_group" "balancer" {
  count       = local.balanced
  name        = "${local.name}-balancer"
  description = "The load balancer"
  vpc_id      = local.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "balancer_from_callers" {
  for_each          = local.balanced == 1 ? toset(var.allowed_cidrs) : toset([])
  security_group_id = aws_security_group.balancer[0].id
  description       = "Callers"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "balancer_to_service" {
  count                        = local.balanced
  security_group_id            = aws_security_group.balancer[0].id
  description                  = "Service"
  referenced_security_group_id = aws_security_group.service.id
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
}

resource "aws_lb" "service" {
  count                      = local.balanced
  name                       = local.name
  load_balancer_type         = "application"
  security_groups            = [aws_security_group.balancer[0].id]
  subnets                    = local.public_subnet_ids
  drop_invalid_header_fields = true
}

resource "aws_lb_target_group" "service" {
  count                = local.balanced
  name                 = local.name
  port                 = local.port
  protocol             = "HTTP"
  vpc_id               = local.vpc_id
  deregistration_delay = 30

  health_check {
    path                = "/readyz"
    interval            = 10
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 3
  }
}

resource "aws_lb_target_group_attachment" "service" {
  count            = local.balanced
  target_group_arn = aws_lb_target_group.service[0].arn
  target_id        = aws_instance.service.id
}

resource "aws_lb_listener" "https" {
  count             = local.balanced
  load_balancer_arn = aws_lb.service[0].arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = var.certificate_arn

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.service[0].arn
  }
}
