variable "environment" {
  description = "Which of several deployments this is, for example staging or production; part of every name."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,18}[a-z0-9]$", var.environment))
    error_message = "environment ${jsonencode(var.environment)} is no name; wanted 2 to 20 lower-case letters, digits and hyphens, for example \"production\"."
  }
}

variable "region" {
  description = "AWS region of everything here."
  type        = string

  validation {
    condition     = can(regex("^(af|ap|ca|eu|il|me|mx|sa|us)-[a-z]+-[0-9]$", var.region))
    error_message = "region ${jsonencode(var.region)} is no commercial AWS region; wanted for example \"us-east-1\"."
  }
}

variable "image" {
  description = "The image to run, by digest, as `make push` reports it."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}\\.dkr\\.ecr\\.[a-z0-9-]+\\.amazonaws\\.com/[a-z0-9][a-z0-9._/-]*@sha256:[0-9a-f]{64}$", var.image))
    error_message = "image ${jsonencode(var.image)} is no image of an ECR repository by digest; wanted ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME@sha256:DIGEST, as `make push` reports it."
  }
}

variable "api_key_file" {
  description = "Key file made by `sentigate keys add`, seen from deploy/aws/terraform: digests of the keys that may ask."
  type        = string

  validation {
    condition     = fileexists(var.api_key_file)
    error_message = "api_key_file ${jsonencode(var.api_key_file)} does not exist; make it: .venv/bin/sentigate keys add NAME --file deploy/aws/terraform/${var.environment}.keys"
  }

  validation {
    condition     = try(length(regexall("(?m)^[^#\\s]\\S* \\S+ [0-9a-f]{64}", file(var.api_key_file))) > 0 && length(file(var.api_key_file)) <= 4096, false)
    error_message = "api_key_file ${jsonencode(var.api_key_file)} holds no key, or more than the 4096 characters of a parameter; make it with `sentigate keys add`."
  }
}

variable "allowed_cidrs" {
  description = "Whose addresses may ask. Empty: nobody from outside, only through a tunnel of Session Manager."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.allowed_cidrs : try(cidrsubnet(cidr, 0, 0), "") == cidr])
    error_message = "allowed_cidrs ${jsonencode(var.allowed_cidrs)} holds what is no IPv4 network; wanted for example [\"203.0.113.7/32\"]."
  }

  validation {
    condition     = var.certificate_arn != null || alltrue([for cidr in var.allowed_cidrs : try(tonumber(split("/", cidr)[1]), 32) >= 16])
    error_message = "allowed_cidrs ${jsonencode(var.allowed_cidrs)} lets half the world in, and without certificate_arn keys and texts would cross it unencrypted; name networks of /16 or smaller, or give a certificate."
  }
}

variable "certificate_arn" {
  description = "Certificate of ACM in the same region. With one, a load balancer in front speaks TLS, and the machine listens to it alone."
  type        = string
  default     = null

  validation {
    condition     = var.certificate_arn == null || can(regex("^arn:aws:acm:${var.region}:[0-9]{12}:certificate/[0-9a-f-]{36}$", var.certificate_arn))
    error_message = "certificate_arn ${jsonencode(var.certificate_arn)} is no certificate of ACM in ${var.region}; wanted arn:aws:acm:${var.region}:ACCOUNT:certificate/ID."
  }
}

variable "hostname" {
  description = "Name on the certificate, which your DNS points to the load balancer."
  type        = string
  default     = null

  validation {
    condition     = (var.hostname == null) == (var.certificate_arn == null)
    error_message = "hostname ${jsonencode(var.hostname)} and certificate_arn go together: give both, or none."
  }
}

variable "instance_type" {
  description = "EC2 instance type, x86-64 with at least 2 GiB of memory."
  type        = string
  default     = "t3.small"

  validation {
    condition     = can(regex("^(t3|t3a|[cmr](5|5a|5n|6a|6i|6in|7a|7i|8i))\\.(small|medium|([0-9]*x)?large)$", var.instance_type))
    error_message = "instance_type ${jsonencode(var.instance_type)} is not known to suit: wanted x86-64 of the Nitro generation with 2 GiB or more, for example \"t3.small\" or \"c7i.large\"."
  }
}

variable "settings" {
  description = "Settings of the service, SENTIMENT_* as docs/service.md lists them."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name, value in var.settings : can(regex("^SENTIMENT_[A-Z_]+$", name)) && !can(regex("\n", value))])
    error_message = "settings ${jsonencode(keys(var.settings))}: wanted names such as SENTIMENT_RATE_LIMIT, each with one line."
  }

  validation {
    condition     = length(setintersection(keys(var.settings), ["SENTIMENT_API_KEYS", "SENTIMENT_API_KEY_FILE", "SENTIMENT_STATE_DIR"])) == 0
    error_message = "settings ${jsonencode(keys(var.settings))}: keys come from api_key_file, and where the state lies is settled."
  }
}

variable "database_class" {
  description = "Instance class of the database."
  type        = string
  default     = "db.t4g.micro"

  validation {
    condition     = can(regex("^db\\.[a-z0-9]+\\.[a-z0-9]+$", var.database_class))
    error_message = "database_class ${jsonencode(var.database_class)} is no class of RDS; wanted for example \"db.t4g.micro\"."
  }
}

variable "database_multi_az" {
  description = "Whether a standby in another zone takes over when the database's machine or zone fails; doubles its price."
  type        = bool
  default     = false
}

variable "backup_days" {
  description = "Days that the daily backups of the database are kept."
  type        = number
  default     = 7

  validation {
    condition     = var.backup_days >= 1 && var.backup_days <= 35 && floor(var.backup_days) == var.backup_days
    error_message = "backup_days ${var.backup_days} is out of range; wanted 1 to 35."
  }
}

variable "protect_database" {
  description = "Whether the database refuses to be destroyed, and leaves a snapshot and its backups when it is all the same."
  type        = bool
  default     = true
}

variable "log_days" {
  description = "Days that CloudWatch keeps the logs of the service and the database; 0 sends it none."
  type        = number
  default     = 0

  validation {
    condition     = contains([0, 1, 3, 5, 7, 14, 30, 60, 90, 180, 365], var.log_days)
    error_message = "log_days ${var.log_days} is none that CloudWatch offers; wanted 0, 1, 3, 5, 7, 14, 30, 60, 90, 180 or 365."
  }
}

variable "network" {
  description = "A VPC that is there already: its id, two public subnets and two private ones, each pair in two zones. Without it, one is made."
  type = object({
    vpc_id             = string
    public_subnet_ids  = list(string)
    private_subnet_ids = list(string)
  })
  default = null

  validation {
    condition     = var.network == null || try(length(var.network.public_subnet_ids) >= 2 && length(var.network.private_subnet_ids) >= 2, false)
    error_message = "network names too few subnets; wanted at least two public and two private ones, each pair in two zones."
  }
}

variable "vpc_cidr" {
  description = "Addresses of the VPC that is made."
  type        = string
  default     = "10.42.0.0/16"

  validation {
    condition     = try(cidrsubnet(var.vpc_cidr, 0, 0) == var.vpc_cidr && tonumber(split("/", var.vpc_cidr)[1]) >= 16 && tonumber(split("/", var.vpc_cidr)[1]) <= 22, false)
    error_message = "vpc_cidr ${jsonencode(var.vpc_cidr)} is no network of /16 to /22; wanted for example \"10.42.0.0/16\"."
  }
}
