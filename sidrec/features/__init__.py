"""Items → vectors."""
