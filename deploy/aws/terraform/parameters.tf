# What the machine looks up once a minute. Another image, setting or key changes a parameter and nothing else.

resource "aws_ssm_parameter" "image" {
  name  = "/${local.name}/image"
  type  = "String"
  value = var.image
}

resource "aws_ssm_parameter" "settings" {
  name  = "/${local.name}/settings"
  type  = "String"
  value = jsonencode(var.settings)
}

resource "aws_ssm_parameter" "database" {
  name = "/${local.name}/database"
  type = "String"
  value = jsonencode({
    host   = aws_db_instance.log.address
    port   = aws_db_instance.log.port
    name   = aws_db_instance.log.db_name
    secret = aws_db_instance.log.master_user_secret[0].secret_arn
  })
}

# Write-only, so that neither state nor plan holds it.
resource "aws_ssm_parameter" "api_keys" {
  name             = "/${local.name}/api-keys"
  type             = "SecureString"
  value_wo         = file(var.api_key_file)
  value_wo_version = parseint(substr(filesha256(var.api_key_file), 0, 7), 16)
}
