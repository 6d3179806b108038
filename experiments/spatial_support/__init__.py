"""What a node of a detector depends on, seen over an image (Deformable ConvNets v2, section 2)."""
