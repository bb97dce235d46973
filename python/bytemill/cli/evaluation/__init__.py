"""Programs that ask a trained model: what base models and assistants are compared by."""
