"""What `earwitness doctor` looks at: small functions, each of which says what it found and what to do."""
