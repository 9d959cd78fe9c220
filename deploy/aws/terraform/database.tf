resource "aws_db_subnet_group" "private" {
  name       = local.name
  subnet_ids = local.private_subnet_ids
}

resource "aws_db_parameter_group" "encrypted" {
  name   = local.name
  family = "postgres17"

  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }
}

resource "aws_db_instance" "log" {
  identifier     = local.name
  engine         = "postgres"
  engine_version = "17"
  instance_class = var.database_class
  db_name        = "sentigate"
  username       = "sentigate"
  # RDS makes the password, keeps it in Secrets Manager and changes it every seven days; Terraform never sees it.
  manage_master_user_password = true

  db_subnet_group_name   = aws_db_subnet_group.private.name
  vpc_security_group_ids = [aws_security_group.database.id]
  parameter_group_name   = aws_db_parameter_group.encrypted.name
  ca_cert_identifier     = "rds-ca-rsa2048-g1"
  publicly_accessible    = false
  multi_az               = var.database_multi_az

  storage_type          = "gp3"
  storage_encrypted     = true
  allocated_storage     = 20
  max_allocated_storage = 100

  backup_retention_period         = var.backup_days
  copy_tags_to_snapshot           = true
  delete_automated_backups        = !var.protect_database
  deletion_protection             = var.protect_database
  skip_final_snapshot             = !var.protect_database
  final_snapshot_identifier       = replace(aws_security_group.database.id, "sg-", "${local.name}-")
  auto_minor_version_upgrade      = true
  enabled_cloudwatch_logs_exports = var.log_days > 0 ? ["postgresql"] : []

  depends_on = [aws_cloudwatch_log_group.database]
}

resource "aws_cloudwatch_log_group" "database" {
  count             = var.log_days > 0 ? 1 : 0
  name              = "/aws/rds/instance/${local.name}/postgresql"
  retention_in_days = var.log_days
}
