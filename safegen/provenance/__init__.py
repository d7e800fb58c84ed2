"""Evidence: records, keys, the Merkle log, C2PA manifests, receipts."""
