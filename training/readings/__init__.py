"""What describers are fitted and judged on: the product's own spots on people with known truth."""
