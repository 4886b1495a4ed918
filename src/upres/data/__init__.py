"""Pictures as training patches."""
