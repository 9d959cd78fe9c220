"""What may go into production: gate, canary rule, promotion rules, signatures, and the ledger of decisions."""
