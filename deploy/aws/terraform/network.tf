data "aws_availability_zones" "open" {
  state = "available"

  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

locals {
  own_network = var.network == null ? 1 : 0
  zones       = slice(data.aws_availability_zones.open.names, 0, 2)

  vpc_id             = var.network == null ? aws_vpc.own[0].id : var.network.vpc_id
  public_subnet_ids  = var.network == null ? aws_subnet.public[*].id : var.network.public_subnet_ids
  private_subnet_ids = var.network == null ? aws_subnet.private[*].id : var.network.private_subnet_ids
}

resource "aws_vpc" "own" {
  count                = local.own_network
  cidr_block           = var.vpc_cidr
  enable_dns_hostnames = true
  tags                 = { Name = local.name }
}

# What AWS gives every VPC lets its members talk to each other; nothing here uses it.
resource "aws_default_security_group" "empty" {
  count  = local.own_network
  vpc_id = aws_vpc.own[0].id
}

resource "aws_internet_gateway" "own" {
  count  = local.own_network
  vpc_id = aws_vpc.own[0].id
  tags   = { Name = local.name }
}

resource "aws_subnet" "public" {
  count             = local.own_network * 2
  vpc_id            = aws_vpc.own[0].id
  availability_zone = local.zones[count.index]
  cidr_block        = cidrsubnet(var.vpc_cidr, 4, count.index)
  tags              = { Name = "${local.name}-public-${count.index}" }
}

resource "aws_subnet" "private" {
  count             = local.own_network * 2
  vpc_id            = aws_vpc.own[0].id
  availability_zone = local.zones[count.index]
  cidr_block        = cidrsubnet(var.vpc_cidr, 4, count.index + 8)
  tags              = { Name = "${local.name}-private-${count.index}" }
}

resource "aws_route_table" "public" {
  count  = local.own_network
  vpc_id = aws_vpc.own[0].id
  tags   = { Name = "${local.name}-public" }
}

resource "aws_route" "internet" {
  count                  = local.own_network
  route_table_id         = aws_route_table.public[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.own[0].id
}

resource "aws_route_table_association" "public" {
  count          = local.own_network * 2
  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public[0].id
}

# The private subnets keep the VPC's main route table, which leads nowhere but through the VPC.

resource "aws_security_group" "service" {
  name        = "${local.name}-service"
  description = "The machine that answers"
  vpc_id      = local.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "service_from_callers" {
  for_each          = local.balanced == 0 ? toset(var.allowed_cidrs) : toset([])
  security_group_id = aws_security_group.service.id
  description       = "Callers"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = local.port
  to_port           = local.port
}

resource "aws_vpc_security_group_ingress_rule" "service_from_balancer" {
  count                        = local.balanced
  security_group_id            = aws_security_group.service.id
  description                  = "Load balancer"
  referenced_security_group_id = aws_security_group.balancer[0].id
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
}

resource "aws_vpc_security_group_egress_rule" "service_to_aws" {
  security_group_id = aws_security_group.service.id
  description       = "AWS APIs, the registry and Amazon Linux packages"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "service_to_database" {
  security_group_id            = aws_security_group.service.id
  description                  = "Database"
  referenced_security_group_id = aws_security_group.database.id
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
}

resource "aws_security_group" "database" {
  name        = "${local.name}-database"
  description = "The database of the prediction log"
  vpc_id      = local.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "database_from_service" {
  security_group_id            = aws_security_group.database.id
  description                  = "Service"
  referenced_security_group_id = aws_security_group.service.id
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
}
