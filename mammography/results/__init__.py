"""What we say in DICOM, in pictures and in words: reports and presentation states of one assessment."""
