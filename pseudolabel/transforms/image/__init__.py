"""Operations on image arrays."""
