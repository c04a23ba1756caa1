"""Three questions → an operator's own configuration and token, and a chat that was found."""
