locals {
  name = "sentigate-${var.environment}"
  port = 3000

  # Volume and machine have to be in one zone, and it has to be known when a plan is made, or the volume is made anew.
  subnet_id = local.public_subnet_ids[0]
  zone      = var.network == null ? aws_subnet.public[0].availability_zone : data.aws_subnet.given[0].availability_zone

  configuration = {
    name      = local.name
    region    = var.region
    volume    = aws_ebs_volume.state.id
    log_group = one(aws_cloudwatch_log_group.service[*].name)
  }

  # Path on the machine, and which file of instance/ is put there.
  programs = {
    "/usr/local/sbin/sentigate-setup" = "setup.sh"
    "/usr/local/sbin/sentigate-sync"  = "sync.py"
    "/usr/local/sbin/sentigate-run"   = "run.sh"
  }
  units = ["sentigate.service", "sentigate-sync.service", "sentigate-sync.timer"]

  user_data = join("\n", ["#cloud-config", yamlencode({
    write_files = concat(
      [{ path = "/etc/sentigate/instance.json", permissions = "0644", content = jsonencode(local.configuration) }],
      [for place, file in local.programs : { path = place, permissions = "0755", content = file("${path.module}/../instance/${file}") }],
      [for unit in local.units : { path = "/etc/systemd/system/${unit}", permissions = "0644", content = file("${path.module}/../instance/${unit}") }],
    )
    runcmd = [["/usr/local/sbin/sentigate-setup"]]
  })])
}

data "aws_ssm_parameter" "amazon_linux" {
  name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
}

data "aws_subnet" "given" {
  count = 1 - local.own_network
  id    = local.subnet_id
}

# Holds the spool, so that what was acknowledged outlives the machine.
resource "aws_ebs_volume" "state" {
  availability_zone = local.zone
  type              = "gp3"
  size              = 8
  encrypted         = true
  tags              = { Name = "${local.name}-state" }
}

resource "aws_volume_attachment" "state" {
  device_name                    = "/dev/sdf"
  volume_id                      = aws_ebs_volume.state.id
  instance_id                    = aws_instance.service.id
  stop_instance_before_detaching = true
}

resource "aws_instance" "service" {
  ami                         = data.aws_ssm_parameter.amazon_linux.insecure_value
  instance_type               = var.instance_type
  subnet_id                   = local.subnet_id
  vpc_security_group_ids      = [aws_security_group.service.id]
  iam_instance_profile        = aws_iam_instance_profile.service.name
  associate_public_ip_address = true # the way to the registry and AWS's APIs; a NAT gateway would cost more than all this
  user_data                   = local.user_data
  user_data_replace_on_change = true
  tags                        = { Name = local.name }

  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1 # the container does not reach the role
  }

  root_block_device {
    volume_type = "gp3"
    volume_size = 20
    encrypted   = true
  }

  lifecycle {
    # A newer Amazon Linux is taken when you ask for it: terraform apply -replace=aws_instance.service
    ignore_changes = [ami]
  }

  depends_on = [aws_iam_role_policy.service, aws_route.internet, aws_ssm_parameter.database]
}

resource "aws_eip" "service" {
  count    = 1 - local.balanced
  domain   = "vpc"
  instance = aws_instance.service.id
  tags     = { Name = local.name }
}

resource "aws_cloudwatch_log_group" "service" {
  count             = var.log_days > 0 ? 1 : 0
  name              = "/${local.name}/service"
  retention_in_days = var.log_days
}
