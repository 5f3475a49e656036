"""What happens in and between training steps."""
