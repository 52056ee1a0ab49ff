"""What several methods do, as functions: each method calls what it needs, and no method inherits from another."""
