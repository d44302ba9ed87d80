"""Drawn lifecycles, and a second opinion on them: a slow model written from the contract alone."""
