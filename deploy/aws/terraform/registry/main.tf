# The registry stands alone: images are pushed before anything runs them, and several environments run the same digest.

terraform {
  required_version = ">= 1.11, < 2.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "5.100.0"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = { Project = "sentigate" }
  }
}

variable "region" {
  description = "AWS region of the registry."
  type        = string

  validation {
    condition     = can(regex("^(af|ap|ca|eu|il|me|mx|sa|us)-[a-z]+-[0-9]$", var.region))
    error_message = "region ${jsonencode(var.region)} is no commercial AWS region; wanted for example \"us-east-1\"."
  }
}

variable "kept_images" {
  description = "How many of the newest images are kept; a way back needs those before the one that runs."
  type        = number
  default     = 30

  validation {
    condition     = var.kept_images >= 2 && floor(var.kept_images) == var.kept_images
    error_message = "kept_images ${var.kept_images} leaves no way back; wanted 2 or more."
  }
}

resource "aws_ecr_repository" "images" {
  name                 = "sentigate"
  image_tag_mutability = "IMMUTABLE"
  force_delete         = true # destroy is asked for by name, see docs/deploy/aws.md

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = "AES256"
  }
}

resource "aws_ecr_lifecycle_policy" "newest" {
  repository = aws_ecr_repository.images.name
  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "Keep the newest ${var.kept_images}"
      selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = var.kept_images }
      action       = { type = "expire" }
    }]
  })
}

output "repository" {
  description = "What `make push REGISTRY=` wants."
  value       = aws_ecr_repository.images.repository_url
}
