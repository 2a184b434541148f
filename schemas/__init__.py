"""What crosses a boundary: records, their wire form, model specs, errors."""
