;; y[b, o] = Σₖ x[b, k] · w[o, k] in float32: x is [rows, inner], w [outer, inner], y [rows, outer], each row by row.
;;
;; One turn of the innermost loop multiplies four numbers of four rows of x with those of two rows of w: eight sums stay
;; in registers, and each number that is read is used two or four times. So rows must be a multiple of 4, outer of 2 and
;; inner of 4, and the three places, which are byte addresses, multiples of 16.
(module
  (import "page" "memory" (memory 1))
  (func (export "matmul")
    (param $x i32) (param $w i32) (param $y i32) (param $rows i32) (param $inner i32) (param $outer i32)
    (local $row i32) (local $column i32) (local $end i32) (local $width i32)
    (local $x0 i32) (local $x1 i32) (local $x2 i32) (local $x3 i32) (local $w0 i32) (local $w1 i32) (local $out i32)
    (local $left v128) (local $right v128) (local $four v128)
    (local $sum00 v128) (local $sum01 v128) (local $sum10 v128) (local $sum11 v128)
    (local $sum20 v128) (local $sum21 v128) (local $sum30 v128) (local $sum31 v128)
    (local.set $width (i32.shl (local.get $inner) (i32.const 2)))
    (local.set $row (i32.const 0))
    (loop $rows_left
      (local.set $column (i32.const 0))
      (local.set $w0 (local.get $w))
      (loop $columns_left
        (local.set $w1 (i32.add (local.get $w0) (local.get $width)))
        (local.set $end (local.get $w1))
        (local.set $x0 (i32.add (local.get $x) (i32.mul (local.get $row) (local.get $width))))
        (local.set $x1 (i32.add (local.get $x0) (local.get $width)))
        (local.set $x2 (i32.add (local.get $x1) (local.get $width)))
        (local.set $x3 (i32.add (local.get $x2) (local.get $width)))
        (local.set $sum00 (v128.const f32x4 0 0 0 0))
        (local.set $sum01 (v128.const f32x4 0 0 0 0))
        (local.set $sum10 (v128.const f32x4 0 0 0 0))
        (local.set $sum11 (v128.const f32x4 0 0 0 0))
        (local.set $sum20 (v128.const f32x4 0 0 0 0))
        (local.set $sum21 (v128.const f32x4 0 0 0 0))
        (local.set $sum30 (v128.const f32x4 0 0 0 0))
        (local.set $sum31 (v128.const f32x4 0 0 0 0))
        (loop $inner_left
          (local.set $left (v128.load (local.get $w0)))
          (local.set $right (v128.load (local.get $w1)))
          (local.set $four (v128.load (local.get $x0)))
          (local.set $sum00 (f32x4.add (local.get $sum00) (f32x4.mul (local.get $four) (local.get $left))))
          (local.set $sum01 (f32x4.add (local.get $sum01) (f32x4.mul (local.get $four) (local.get $right))))
          (local.set $four (v128.load (local.get $x1)))
          (local.set $sum10 (f32x4.add (local.get $sum10) (f32x4.mul (local.get $four) (local.get $left))))
          (local.set $sum11 (f32x4.add (local.get $sum11) (f32x4.mul (local.get $four) (local.get $right))))
          (local.set $four (v128.load (local.get $x2)))
          (local.set $sum20 (f32x4.add (local.get $sum20) (f32x4.mul (local.get $four) (local.get $left))))
          (local.set $sum21 (f32x4.add (local.get $sum21) (f32x4.mul (local.get $four) (local.get $right))))
          (local.set $four (v128.load (local.get $x3)))
          (local.set $sum30 (f32x4.add (local.get $sum30) (f32x4.mul (local.get $four) (local.get $left))))
          (local.set $sum31 (f32x4.add (local.get $sum31) (f32x4.mul (local.get $four) (local.get $right))))
          (local.set $x0 (i32.add (local.get $x0) (i32.const 16)))
          (local.set $x1 (i32.add (local.get $x1) (i32.const 16)))
          (local.set $x2 (i32.add (local.get $x2) (i32.const 16)))
          (local.set $x3 (i32.add (local.get $x3) (i32.const 16)))
          (local.set $w1 (i32.add (local.get $w1) (i32.const 16)))
          (local.set $w0 (i32.add (local.get $w0) (i32.const 16)))
          (br_if $inner_left (i32.lt_u (local.get $w0) (local.get $end))))
        (local.set $out
          (i32.add
            (local.get $y)
            (i32.shl (i32.add (i32.mul (local.get $row) (local.get $outer)) (local.get $column)) (i32.const 2))))
        (f32.store (local.get $out)
          (f32.add
            (f32.add (f32x4.extract_lane 0 (local.get $sum00)) (f32x4.extract_lane 1 (local.get $sum00)))
            (f32.add (f32x4.extract_lane 2 (local.get $sum00)) (f32x4.extract_lane 3 (local.get $sum00)))))
        (f32.store offset=4 (local.get $out)
          (f32.add
            (f32.add (f32x4.extract_lane 0 (local.get $sum01)) (f32x4.extract_lane 1 (local.get $sum01)))
            (f32.add (f32x4.extract_lane 2 (local.get $sum01)) (f32x4.extract_lane 3 (local.get $sum01)))))
        (local.set $out (i32.add (local.get $out) (i32.shl (local.get $outer) (i32.const 2))))
        (f32.store (local.get $out)
          (f32.add
            (f32.add (f32x4.extract_lane 0 (local.get $sum10)) (f32x4.extract_lane 1 (local.get $sum10)))
            (f32.add (f32x4.extract_lane 2 (local.get $sum10)) (f32x4.extract_lane 3 (local.get $sum10)))))
        (f32.store offset=4 (local.get $out)
          (f32.add
            (f32.add (f32x4.extract_lane 0 (local.get $sum11)) (f32x4.extract_lane 1 (local.get $sum11)))
            (f32.add (f32x4.extract_lane 2 (local.get $sum11)) (f32x4.extract_lane 3 (local.get $sum11)))))
        (local.set $out (i32.add (local.get $out) (i32.shl (local.get $outer) (i32.const 2))))
        (f32.store (local.get $out)
          (f32.add
            (f32.add (f32x4.extract_lane 0 (local.get $sum20)) (f32x4.extract_lane 1 (local.get $sum20)))
            (f32.add (f32x4.extract_lane 2 (local.get $sum20)) (f32x4.extract_lane 3 (local.get $sum20)))))
        (f32.store offset=4 (local.get $out)
          (f32.add
            (f32.add (f32x4.extract_lane 0 (local.get $sum21)) (f32x4.extract_lane 1 (local.get $sum21)))
            (f32.add (f32x4.extract_lane 2 (local.get $sum21)) (f32x4.extract_lane 3 (local.get $sum21)))))
        (local.set $out (i32.add (local.get $out) (i32.shl (local.get $outer) (i32.const 2))))
        (f32.store (local.get $out)
          (f32.add
            (f32.add (f32x4.extract_lane 0 (local.get $sum30)) (f32x4.extract_lane 1 (local.get $sum30)))
            (f32.add (f32x4.extract_lane 2 (local.get $sum30)) (f32x4.extract_lane 3 (local.get $sum30)))))
        (f32.store offset=4 (local.get $out)
          (f32.add
            (f32.add (f32x4.extract_lane 0 (local.get $sum31)) (f32x4.extract_lane 1 (local.get $sum31)))
            (f32.add (f32x4.extract_lane 2 (local.get $sum31)) (f32x4.extract_lane 3 (local.get $sum31)))))
        (local.set $w0 (local.get $w1)) ;; the row after the two that were read
        (local.set $column (i32.add (local.get $column) (i32.const 2)))
        (br_if $columns_left (i32.lt_u (local.get $column) (local.get $outer))))
      (local.set $row (i32.add (local.get $row) (i32.const 4)))
      (br_if $rows_left (i32.lt_u (local.get $row) (local.get $rows))))))
