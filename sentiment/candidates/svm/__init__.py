"""The `svm` and `svm_smote` candidates: an RBF machine on sentence embeddings."""
