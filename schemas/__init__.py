"""What maskmill writes and reads: Arrow schemas, manifests, receipts, run files and errors."""
