data "aws_caller_identity" "current" {}

locals {
  image          = regex("^(?P<account>[0-9]+)\\.dkr\\.ecr\\.(?P<region>[a-z0-9-]+)\\.amazonaws\\.com/(?P<repository>[^@]+)@", var.image)
  repository_arn = "arn:aws:ecr:${local.image.region}:${local.image.account}:repository/${local.image.repository}"
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "service" {
  statement {
    sid       = "LogIntoRegistry" # takes no resource
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }

  statement {
    sid       = "PullImage"
    actions   = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    resources = [local.repository_arn]
  }

  statement {
    sid     = "ReadParameters"
    actions = ["ssm:GetParameters"]
    # By name: a plan that changes a parameter does not have to look at the role again.
    resources = [for parameter in ["image", "settings", "database", "api-keys"] :
      "arn:aws:ssm:${var.region}:${data.aws_caller_identity.current.account_id}:parameter/${local.name}/${parameter}"
    ]
  }

  statement {
    sid       = "ReadDatabasePassword"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [aws_db_instance.log.master_user_secret[0].secret_arn]
  }

  # What Session Manager wants, in place of AmazonSSMManagedInstanceCore, which may read every parameter of the account.
  statement {
    sid       = "BeManaged"
    actions   = ["ssm:UpdateInstanceInformation"]
    resources = ["arn:aws:ec2:${var.region}:${data.aws_caller_identity.current.account_id}:instance/*"]
  }

  statement {
    sid = "TakeSessions" # take no resource
    actions = [
      "ssmmessages:CreateControlChannel",
      "ssmmessages:CreateDataChannel",
      "ssmmessages:OpenControlChannel",
      "ssmmessages:OpenDataChannel",
    ]
    resources = ["*"]
  }

  dynamic "statement" {
    for_each = aws_cloudwatch_log_group.service

    content {
      sid       = "WriteLogs"
      actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      resources = ["${statement.value.arn}:*"]
    }
  }
}

resource "aws_iam_role" "service" {
  name               = "${local.name}-${var.region}"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

resource "aws_iam_role_policy" "service" {
  name   = "service"
  role   = aws_iam_role.service.id
  policy = data.aws_iam_policy_document.service.json
}

resource "aws_iam_instance_profile" "service" {
  name = aws_iam_role.service.name
  role = aws_iam_role.service.name
}
