"""What the project is made from: versions, hashes, licences."""
