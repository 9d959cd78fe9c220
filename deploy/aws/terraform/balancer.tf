# Made only where a certificate is given.

locals {
  balanced = var.certificate_arn == null ? 0 : 1
  public_paths = {
    1 = ["/predict", "/batch_predict", "/explain", "/feedback"]
    2 = ["/model", "/health", "/livez", "/readyz", "/docs.json"]
    3 = ["/", "/static/*"]
  }
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
    type = "fixed-response"

    fixed_response {
      status_code  = "404"
      content_type = "application/json"
      message_body = jsonencode({
        code    = "not_found"
        message = "there is no such path here; docs.json lists what there is, for example POST /predict."
      })
    }
  }
}

# What the service calls public, and nothing else; a rule takes five paths at most.
resource "aws_lb_listener_rule" "public" {
  for_each     = local.balanced == 1 ? local.public_paths : {}
  listener_arn = aws_lb_listener.https[0].arn
  priority     = each.key

  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.service[0].arn
  }

  condition {
    path_pattern {
      values = each.value
    }
  }
}
