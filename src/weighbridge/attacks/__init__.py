"""What somebody may do with weights once they are public: attacks, their cost, and a closed room to try them in."""
